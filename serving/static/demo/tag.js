// The tag of docs/script.md: calls made before nextbest.js has loaded wait in a queue.
(function (window, names) {
  const stub = window.nextbest = window.nextbest || { q: [] };
  names.forEach((name) => {
    stub[name] = stub[name] || ((...given) => new Promise((done) => stub.q.push([name, given, done])));
  });
})(window, ['init', 'identify', 'track', 'page', 'recommend', 'consent', 'reset', 'anonymousId']);
