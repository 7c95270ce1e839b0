"""From episodes to statistics, figures and one page that says who won."""
