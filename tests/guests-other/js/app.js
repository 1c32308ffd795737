// A wasi:http/incoming-handler: answers with the method, the path and query, and the body. Not a
// fetch event, because StarlingMonkey (the engine) takes only one of them per instance.
import { Fields, IncomingBody, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types';

export const incomingHandler = {
  handle(request, responseOut) {
    const { tag, val } = request.method();
    const line = `${val ?? tag.toUpperCase()} ${request.pathWithQuery()} from JavaScript\n`;
    const text = [new TextEncoder().encode(line), ...chunks(request.consume())];

    const type = new TextEncoder().encode('text/plain');
    const response = new OutgoingResponse(Fields.fromList([['content-type', type]]));
    const body = response.body();
    ResponseOutparam.set(responseOut, { tag: 'ok', val: response });
    const stream = body.write();
    for (const chunk of text) stream.blockingWriteAndFlush(chunk);
    stream[Symbol.dispose]();
    OutgoingBody.finish(body);
  },
};

function* chunks(body) {
  const stream = body.stream();
  try {
    for (;;) yield stream.blockingRead(4096n); // the most that one blocking write takes
  } catch (error) {
    if (error.payload?.tag !== 'closed') throw error;
  }
  stream[Symbol.dispose]();
  IncomingBody.finish(body);
}
