"""A subscriber with stubs made by plain protoc: reads the log to its end, then meets an error it can read."""

import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from deskgate.v1 import event_service_pb2 as events
from deskgate.v1 import event_service_pb2_grpc, ticket_service_pb2 as tickets, ticket_service_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    request = events.SubscribeRequest(start={"earliest": True}, stop_when_caught_up=True)
    for response in event_service_pb2_grpc.EventServiceStub(channel).Subscribe(request):
        if response.HasField("event"):
            event = response.event
            print(f"{event.type} {event.ticket_id} #{event.ticket_sequence} {event.customer_message.content.text}".rstrip())
    try:
        assign = tickets.AssignRequest(ticket_id="nobody", agent="ana@empresa.com")
        ticket_service_pb2_grpc.TicketServiceStub(channel).Assign(assign)
    except grpc.RpcError as error:
        for detail in rpc_status.from_call(error).details:
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                print(info.reason, info.metadata["blip_code"])
