"""Events sent to URLs of people's own, signed as Standard Webhooks say."""
