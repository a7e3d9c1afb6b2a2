"""What leaves home: export forms, model card, what may go, pushing to the Hub and downloading from it."""
