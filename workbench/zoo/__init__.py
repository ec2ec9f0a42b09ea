"""What is not ours, in the same plumbing: environments of other libraries, further agents and samplers."""
