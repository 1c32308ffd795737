# A wasi:http/incoming-handler: answers with the method, the path and query, and the body; with
# rounds= in the query, it does so many rounds of work first.
from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request, response_out):
        method = request.method()
        method = getattr(method, "value", type(method).__name__.removeprefix("Method_").upper())
        path = request.path_with_query()
        compute(path)
        text = f"{method} {path} from Python\n".encode() + read(request.consume())

        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            for at in range(0, len(text), 4096):  # the most that one blocking write takes
                stream.blocking_write_and_flush(text[at : at + 4096])
        OutgoingBody.finish(body, None)


def compute(path):
    state = 1
    for _ in range(int(path.partition("?rounds=")[2] or 0)):
        state = state * 6364136223846793005 + 1442695040888963407 & 0xFFFFFFFFFFFFFFFF


def read(body):
    chunks = []
    with body, body.stream() as stream:
        while True:
            try:
                chunks.append(stream.blocking_read(65536))
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return b"".join(chunks)
                raise
