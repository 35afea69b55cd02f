"""fa-lint inside other tools; each module needs its tool, and nothing else imports it."""
