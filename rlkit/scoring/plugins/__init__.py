"""Reward plugins: found, their arguments checked, built; functions written for other toolkits too."""
