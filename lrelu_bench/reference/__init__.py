"""What others reported, as data: the public leaderboard's dated rows and the claims of the posts."""
