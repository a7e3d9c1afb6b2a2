"""The terminal app: screens and widgets; it reads runs and leaves requests, and never trains."""
