"""Running state to verified layers and back."""
