"""The dashboard, a door for people in a browser: it speaks HTTP to the API and computes no study itself."""
