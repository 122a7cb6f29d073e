"""What a hospital sets: its files, its policy, and how it joins."""
