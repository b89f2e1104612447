"""The program terraform or tofu: which one, in which environment, with which directory."""
