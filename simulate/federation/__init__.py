"""Real coordinators and hospitals on one machine."""
