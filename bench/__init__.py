"""What is measured and how, always beside a peer in the same run. Never part of the tests."""
