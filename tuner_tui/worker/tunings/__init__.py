"""One file per tuning: its PEFT configuration, and how an adapter is continued and merged."""
