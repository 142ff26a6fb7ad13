"""What controllers and agents write into the status of ENIPools and ENIs."""
