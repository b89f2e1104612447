"""One foreign thing per module: a broker, a program, a file format. No decisions here, and no services."""
