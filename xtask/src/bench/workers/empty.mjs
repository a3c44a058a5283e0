// What every cold start is measured against: a worker that does nothing.
export default {
  fetch() {
    return new Response("ok");
  },
};
