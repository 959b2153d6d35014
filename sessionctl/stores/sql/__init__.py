"""What stores behind SQLAlchemy Core share: statements that a dialect completes."""
