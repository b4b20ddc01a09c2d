"""Local folders, S3 and object stores. A folder that exists is complete."""
