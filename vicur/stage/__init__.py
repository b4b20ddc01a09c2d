"""Stages: how one is declared, run, cached and resumed."""
