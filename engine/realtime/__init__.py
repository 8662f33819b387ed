"""Live messages of calls into RabbitMQ: in order, confirmed, and over an outage by way of the disk."""
