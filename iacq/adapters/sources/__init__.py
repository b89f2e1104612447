"""What a run is made of: a directory, an archive or a git repository, packed and unpacked."""
