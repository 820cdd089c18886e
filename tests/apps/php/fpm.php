<?php
// As relay.php, for PHP-FPM; it calls its backend in more ways:
// &stream=1  $BACKEND/stream/ID with PHP's own client
// &child=1   $BACKEND/child/ID by another program
// &after=1   $BACKEND/after/ID, once the answer is complete
// &late=1    $BACKEND/late/ID, when the script has ended and the answer is not complete
require __DIR__ . '/relay.php';
$backend = getenv('BACKEND');
$id = $_GET['id'];
if (isset($_GET['stream'])) {
    file_get_contents("$backend/stream/$id");
}
if (isset($_GET['child'])) {
    shell_exec('curl --silent ' . escapeshellarg("$backend/child/$id"));
}
if (isset($_GET['late'])) {
    register_shutdown_function(fn () => file_get_contents("$backend/late/$id"));
}
if (isset($_GET['after'])) {
    fastcgi_finish_request();
    file_get_contents("$backend/after/$id");
}
