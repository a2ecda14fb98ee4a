"""A subscriber with stubs made by plain protoc and nothing else set: reads the log to its end, in every view."""

import sys

import grpc
from google.protobuf import json_format

from deskgate.v1 import event_service_pb2 as events
from deskgate.v1 import event_service_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    for view in ("EVENT_VIEW_ENVELOPE", "EVENT_VIEW_FULL", "EVENT_VIEW_RAW"):
        request = events.SubscribeRequest(start={"earliest": True}, stop_when_caught_up=True, view=view)
        count = 0
        for response in event_service_pb2_grpc.EventServiceStub(channel).Subscribe(request):
            if response.HasField("event"):
                json_format.MessageToJson(response.event)
                count += 1
        print(view, count)
