"""Finds and builds reward plugins and checks their arguments; adapts functions written for other toolkits."""
