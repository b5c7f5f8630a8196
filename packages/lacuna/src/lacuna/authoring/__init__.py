"""What an author of a model uses: a folder to start from, and the check of a finished one."""
