"""The state of a cluster's runs, queues and models on one screen. Each source is optional."""
