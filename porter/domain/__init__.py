"""What things are: plain dataclasses, enums and pure rules. Standard library only, no I/O."""
