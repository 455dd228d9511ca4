"""The server: the Gemini API and the OpenAI API over HTTP, on one engine and one port."""
