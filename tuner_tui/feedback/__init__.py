"""What a person (or a judge model) said about answers: kept, counted, exported, trained on."""
