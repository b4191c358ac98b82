"""The records in a store and their parts: ids, moments, lifetimes and serialized data."""
