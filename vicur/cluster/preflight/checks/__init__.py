"""The checks, one module a subject. All modules of this package are loaded by :func:`vicur.cluster.preflight.registry.definitions`."""
