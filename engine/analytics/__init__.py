"""What is said in calls, looked at while they go on: sentiment, keywords, what agents do, what rules want said, and how it sounds."""
