"""What clients touch: the JSON-RPC socket. No rule of the business lives here."""
