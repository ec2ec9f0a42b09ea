"""What a person sees: figures for reports, and the live panel of a notebook. Nothing below knows of this room."""
