"""Django with throttles of Django REST framework and of Django Ninja, and the WSGI
middleware: what changes is the name of the throttles, and one setting."""

import os

import django
from django.conf import settings
from floodgate_redis import FailClosed, Limiter, LocalBucket, Server

server = Server(os.environ["REDIS_URL"], patience=float(os.environ["REDIS_PATIENCE"]))
settings.configure(
    SECRET_KEY="-",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="django_app",
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_THROTTLE_CLASSES": ["floodgate_redis.django.rest_framework.AnonRateThrottle"],
        "DEFAULT_THROTTLE_RATES": {"anon": "60/hour", "month": "5/month", "uploads": "2/day", "none": None},
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "UNAUTHENTICATED_USER": None,
    },
    NINJA_DEFAULT_THROTTLE_RATES={"pages": "60/h"},
    FLOODGATE_LIMITER=Limiter(server, FailClosed()),
)
django.setup()

import floodgate_redis.django.ninja as ninja_throttles  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from floodgate_redis.django import rest_framework as throttles  # noqa: E402
from floodgate_redis.flask import RateLimit  # noqa: E402
from ninja import NinjaAPI  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class ByAnon(APIView):
    def get(self, request):
        return Response("anon")


class Month(throttles.AnonRateThrottle):
    scope = "month"


class Nobody(throttles.AnonRateThrottle):
    scope = "none"


class ByMonth(ByAnon):
    throttle_classes = [Month, Nobody]


class Uploads(ByAnon):
    throttle_classes = [throttles.ScopedRateThrottle]
    throttle_scope = "uploads"


class Pages(Uploads):
    throttle_scope = None


class ByHeader(throttles.SimpleRateThrottle):
    """One of one's own, with a limiter of its own."""

    rate = "1/min"
    limiter = Limiter(server, LocalBucket(rate=100))

    def get_cache_key(self, request, view):
        return request.headers.get("X-Tenant")


class Own(ByAnon):
    throttle_classes = [ByHeader]


class ByPages(ninja_throttles.AnonRateThrottle):
    scope = "pages"  # apart from the same caller's usage of the other host


api = NinjaAPI(throttle=[ByPages()])
seven = [ninja_throttles.AuthRateThrottle("7/10"), ninja_throttles.UserRateThrottle("100/2h")]
seven[1].get_cache_key = lambda request: "everybody"


@api.get("/anon")
def anon(request):
    return "anon"


@api.get("/seven", throttle=seven)
def by_seconds(request):
    return "seven"


@api.get("/asynchronous", throttle=ninja_throttles.AnonRateThrottle("3/m"))
async def asynchronous(request):
    return "asynchronous"


def page(request):
    response = HttpResponse("page")
    if request.path.endswith("own"):
        response["RateLimit"] = "mine"
    return response


urlpatterns = [
    path("rest/anon", ByAnon.as_view()),
    path("rest/month", ByMonth.as_view()),
    path("rest/uploads", Uploads.as_view()),
    path("rest/pages", Pages.as_view()),
    path("rest/own", Own.as_view()),
    path("ninja/", api.urls),
    path("wsgi/page", page),
    path("wsgi/own", page),
    path("free", page),
]

plain = get_wsgi_application()


def tea(environ, start_response):
    start_response("418 Teapot", [("X-Tea", "yes")])
    return [b"tea"]


limited = RateLimit(plain, Limiter(server, FailClosed()), "60/hour", name="wsgi")
teapot = RateLimit(
    plain,
    Limiter(server, FailClosed()),
    "1/hour",
    caller=lambda environ: environ.get("HTTP_X_USER", "nobody"),
    name="tea",
    denied=lambda environ, decision, headers: tea,
)


def app(environ, start_response):
    wsgi = environ["PATH_INFO"].startswith("/wsgi/")
    own = environ.get("QUERY_STRING") == "tea"
    return (teapot if own else limited if wsgi else plain)(environ, start_response)
