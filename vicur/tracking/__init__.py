"""Log parameters, metrics and files to MLflow and to local JSON lines."""
