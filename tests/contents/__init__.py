"""Reading stored documents in processes of their own."""
