"""Ways into other programs, loaded by them alone."""
