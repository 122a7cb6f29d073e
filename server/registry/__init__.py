"""Who belongs to the federation: sites, people, projects."""
