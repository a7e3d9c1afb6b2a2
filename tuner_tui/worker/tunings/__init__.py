"""What is trained, a file for each tuning: its PEFT configuration, and how an adapter is continued and merged."""
