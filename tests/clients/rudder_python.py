from python_calls import send
from rudderstack.analytics.client import Client

send(Client, gzip=True)
