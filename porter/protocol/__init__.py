"""What control plane and agents say to each other, and agents among themselves. Versioned."""

VERSION = 1
