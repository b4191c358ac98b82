"""What a store holds, and what it is made of: ids, moments, bytes."""
