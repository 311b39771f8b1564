"""The base that `make demo` trains on, and that the first `make up` offers."""
