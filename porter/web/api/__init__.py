"""Routes and schemas of the REST API and of the agents' API."""
