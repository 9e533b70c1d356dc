"""What the handler ``files`` knows of folders and of files beside their bytes."""
