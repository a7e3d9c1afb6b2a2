"""The terminal app: screens, widgets and what they say; it reads runs and leaves requests, never trains."""
